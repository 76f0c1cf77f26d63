-- What mod_auth_extauth_bridge writes to the daemon and believes of it, step by step.
-- Usage: lua wire.lua MODULE SCENARIO; or, without SCENARIO, prints the names of all.

local here = arg[0]:match("^(.*/)") or "./";
package.path = here .. "?.lua;" .. package.path;
local stub = require "stub";

local tools = { HELLO = "extauth-bridge:answers:3\n", PLAIN = "\0alice\0" };

function tools.same(found, expected)
	if found ~= expected then
		error(("found %s, expected %s"):format(tostring(found), tostring(expected)), 2);
	end
end

function tools.last() return stub.sockets[#stub.sockets]; end
function tools.auth(user, password) return stub.run(stub.provider.test_password, user, password or "secret"); end
function tools.login(password)
	local handler = stub.provider.get_sasl_handler();
	return stub.run(function () return handler:process(tools.PLAIN .. (password or "secret")); end), handler;
end

function tools.granted(task) return assert(task.result, "has no answer")[1] == true; end

local scenarios = {};
for _, name in ipairs({ "wire_answers", "wire_trouble", "wire_time", "wire_stanzas" }) do
	assert(loadfile(here .. name .. ".lua"))(scenarios, stub, tools);
end

if not arg[2] then
	for name in pairs(scenarios) do print(name); end
	os.exit(0);
end
stub.load(arg[1]);
scenarios[arg[2]]();
