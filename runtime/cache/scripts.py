"""Scripts that Redis runs in one step: a write or delete, and the message to the other nodes.

A value in Redis begins with its expiry, by the server's clock, in milliseconds. A node that copies
the value into its local tier must not keep it for longer.

They are scripts and not `MULTI`, because the comparison with the old value, the write and the
message must be one step. So no write is without its message. All keys of a call must be on one
server.
"""

import struct
from typing import Final

__all__ = ["DELETE", "EXPIRY", "WRITE"]

EXPIRY: Final = struct.Struct(">Q")
# A deleted key has the value "-" for a while. Every other value is longer.

# Versions are compared as numbers, because Lua compares texts by the server's locale. Versions
# above 2^53 are rounded and may count as equal; then the write wins, which only refreshes the
# value.
WRITE: Final = """
local newest_wins, channel, message = ARGV[1] == '1', ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local refused = {}
for i, key in ipairs(KEYS) do
  local value, ttl = ARGV[2 * i + 2], tonumber(ARGV[2 * i + 3])
  local keep = true
  if newest_wins then
    local old = redis.call('GETRANGE', key, 0, 15)
    if old == '-' then
      keep = false
    elseif #old == 16 then
      keep = struct.unpack('>I8', string.sub(old, 9)) <= struct.unpack('>I8', value)
    end
  end
  if keep then
    redis.call('SET', key, struct.pack('>I8', now + ttl) .. value, 'PX', ttl)
  else
    refused[#refused + 1] = i - 1
  end
end
if channel ~= '' then redis.call('PUBLISH', channel, message) end
return refused
"""

DELETE: Final = """
local tombstone_ms, channel, message = tonumber(ARGV[1]), ARGV[2], ARGV[3]
for _, key in ipairs(KEYS) do
  if tombstone_ms > 0 then
    redis.call('SET', key, '-', 'PX', tombstone_ms)
  else
    redis.call('DEL', key)
  end
end
if channel ~= '' then redis.call('PUBLISH', channel, message) end
return #KEYS
"""
