// client_node.js - what a Node.js program does with node-redis, against a Holdfast node. Usage: client_node.js PORT
'use strict';
const assert = require('assert');
const { createClient } = require('redis');

async function main(port) {
    const client = createClient({ socket: { host: '127.0.0.1', port } });
    client.on('error', (error) => { throw error; });
    await client.connect();
    assert.strictEqual(await client.ping(), 'PONG');
    await client.del(['node:s', 'node:n', 'node:ttl']);
    assert.strictEqual(await client.set('node:s', 'grüß'), 'OK');
    assert.strictEqual(await client.get('node:s'), 'grüß');
    assert.strictEqual(await client.get('node:none'), null);
    const numbers = await Promise.all(Array.from({ length: 1000 }, () => client.incr('node:n')));
    assert.deepStrictEqual(numbers, Array.from({ length: 1000 }, (_, i) => i + 1));
    assert.strictEqual(await client.set('node:ttl', 'x', { PX: 60000, NX: true }), 'OK');
    assert.strictEqual(await client.set('node:ttl', 'y', { NX: true }), null);
    const left = await client.pTTL('node:ttl');
    assert.ok(left > 0 && left <= 60000, `pTTL ${left}`);
    assert.deepStrictEqual(await client.mGet(['node:s', 'node:none']), ['grüß', null]);
    await assert.rejects(client.incr('node:s'), /ERR value is not an integer or out of range/);
    const found = [];
    for await (const key of client.scanIterator({ MATCH: 'node:*' })) found.push(key);
    assert.deepStrictEqual([...new Set(found)].sort(), ['node:n', 'node:s', 'node:ttl']);
    await client.quit();
}

main(Number(process.argv[2])).catch((error) => {
    console.error(error);
    process.exit(1);
});
