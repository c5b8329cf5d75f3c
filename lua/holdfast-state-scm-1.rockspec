-- luarocks --lua-version 5.4 make lua/holdfast-state-scm-1.rockspec, at the root of the tree.
rockspec_format = "3.0"
package = "holdfast-state"
version = "scm-1"
source = {
  url = "git+file://.",
}
description = {
  summary = "Keys and values that workers on many machines share: the Lua client of a Holdfast cluster",
  detailed = [[
    require "state" gives values that keep their Lua type, counters, lists, compare-and-swap and time to live,
    linearizable across machines. Needs libjansson (Debian: libjansson-dev).
  ]],
}
dependencies = {
  "lua ~> 5.4",
}
external_dependencies = {
  JANSSON = { header = "jansson.h", library = "jansson" },
}
build = {
  type = "builtin",
  modules = {
    ["state"] = "lua/state.lua",
    ["state.changes"] = "lua/state/changes.lua",
    ["state.check"] = "lua/state/check.lua",
    ["state.client"] = "lua/state/client.lua",
    ["state.counters"] = "lua/state/counters.lua",
    ["state.elections"] = "lua/state/elections.lua",
    ["state.gates"] = "lua/state/gates.lua",
    ["state.keys"] = "lua/state/keys.lua",
    ["state.limits"] = "lua/state/limits.lua",
    ["state.link"] = "lua/state/link.lua",
    ["state.lists"] = "lua/state/lists.lua",
    ["state.locks"] = "lua/state/locks.lua",
    ["state.results"] = "lua/state/results.lua",
    ["state.semaphores"] = "lua/state/semaphores.lua",
    ["state.transaction"] = "lua/state/transaction.lua",
    ["state.ttl"] = "lua/state/ttl.lua",
    ["state.values"] = "lua/state/values.lua",
    ["state.waiting"] = "lua/state/waiting.lua",
    ["state.watching"] = "lua/state/watching.lua",
    ["state.core"] = {
      sources = {
        "lua/core.c",
        "lua/number.c",
        "lua/table.c",
        "lua/value.c",
        "node/client/address.c",
        "node/client/channel.c",
        "node/client/client.c",
        "node/client/fields.c",
        "node/client/keeper.c",
        "node/client/seat.c",
        "node/resp/digits.c",
        "node/resp/value.c",
        "node/resp/write.c",
      },
      defines = { "_GNU_SOURCE", 'HOLDFAST_VERSION="scm"' },
      incdirs = { ".", "$(JANSSON_INCDIR)" },
      libdirs = { "$(JANSSON_LIBDIR)" },
      libraries = { "jansson", "pthread" },
    },
  },
}
