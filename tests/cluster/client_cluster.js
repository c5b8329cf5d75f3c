// client_cluster.js - what Node.js programs do that look for the leader by themselves: with ioredis and node-redis, as
// clients of Redis Cluster and of Redis Sentinel. Usage: client_cluster.js LIBRARY KIND PORT...
// It counts `key` up and prints the count after each success; it ends with "end" on a line of its input.
'use strict';
const readline = require('readline');

const makers = {
    'ioredis cluster': (nodes) => {
        const { Cluster } = require('ioredis');
        return new Cluster(nodes, { clusterRetryStrategy: () => 20, redisOptions: { commandTimeout: 5000 } });
    },
    'ioredis sentinel': (nodes) => {
        const { Redis } = require('ioredis');
        return new Redis({ sentinels: nodes, name: 'mymaster', sentinelRetryStrategy: () => 20, retryStrategy: () => 20,
            failoverDetector: true, commandTimeout: 5000 });
    },
    'redis cluster': async (nodes) => {
        const { createCluster } = require('redis');
        const rootNodes = nodes.map((n) => ({ socket: n }));
        const client = createCluster({ rootNodes, defaults: { socket: { reconnectStrategy: 20 } } });
        client.on('error', () => {});
        await client.connect();
        return client;
    },
    'redis sentinel': async (nodes) => {
        const { createSentinel } = require('redis');
        const client = createSentinel({ name: 'mymaster', sentinelRootNodes: nodes, scanInterval: 200 });
        client.on('error', () => {});
        await client.connect();
        return client;
    },
};

async function main(library, kind, ports) {
    const nodes = ports.map((port) => ({ host: '127.0.0.1', port: Number(port) }));
    const client = await makers[`${library} ${kind}`](nodes);
    let ends = false, last = '';
    if (client.on) client.on('error', (error) => { last = String(error); });
    readline.createInterface({ input: process.stdin }).on('line', () => { ends = true; });
    while (!ends) {
        try {
            const n = await client.incr('key');
            console.log(String(n));
        } catch (error) {
            if (String(error) !== last) console.error(String(error));
            last = String(error);
        }
        await new Promise((resume) => setTimeout(resume, 5));
    }
    process.exit(0);
}

main(process.argv[2], process.argv[3], process.argv.slice(4)).catch((error) => {
    console.error(error);
    process.exit(1);
});
