-- What mod_auth_extauth_bridge writes to the daemon and believes of it, step by step.
-- Usage: lua wire.lua FOLDER MODE [SCENARIO]. MODE is "tagged", or "plain" for a daemon that knows no tags. Without
-- SCENARIO all are run. Prints the names of those that hold; of any other, on stderr, what is wrong.

local here = arg[0]:match("^(.*/)") or "./";
package.path = here .. "?.lua;" .. package.path;

-- Everything anew, so that no scenario finds what another has left: those of this mode, by name, and the stub.
local function prepare()
	local stub = assert(loadfile(here .. "stub.lua"))();
	stub.mode = arg[2];

	local tools = {
		TAGGED = "extauth-bridge:tagged:1\n", ANSWERS = "extauth-bridge:answers:3\n", PLAIN = "\0alice\0";
		tagged = arg[2] == "tagged";
	};

	function tools.same(found, expected)
		if found ~= expected then
			error(("found %s, expected %s"):format(tostring(found), tostring(expected)), 2);
		end
	end

	function tools.last() return stub.links[#stub.links]; end
	function tools.asked() return table.concat(tools.last().lines, "\n"); end
	function tools.auth(user, password) return stub.run(stub.provider.test_password, user, password or "secret"); end
	function tools.login(password, session)
		local handler = stub.provider.get_sasl_handler(session);
		return stub.run(function () return handler:process(tools.PLAIN .. (password or "secret")); end), handler;
	end

	function tools.granted(task) return assert(task.result, "has no answer")[1] == true; end

	function tools.unavailable(task) return task.result ~= nil and task.result[2] == "temporary-auth-failure"; end

	-- Scenarios of both modes, and those of one.
	local scenarios = { both = {}, tagged = {}, plain = {} };
	for _, name in ipairs({ "protocol", "answers", "trouble", "time", "existence", "stanzas", "accounts" }) do
		assert(loadfile(here .. "wire_" .. name .. ".lua"))(scenarios, stub, tools);
	end
	for name, scenario in pairs(scenarios[stub.mode]) do
		assert(not scenarios.both[name]);
		scenarios.both[name] = scenario;
	end
	return scenarios.both, stub;
end

local failures = 0;
for name in pairs((prepare())) do
	if not arg[3] or name == arg[3] then
		local scenarios, stub = prepare();
		local holds, trouble = xpcall(function ()
			stub.load(arg[1]);
			scenarios[name]();
		end, debug.traceback);
		if holds then print(name); else io.stderr:write(name, ": ", tostring(trouble), "\n"); end
		failures = failures + (holds and 0 or 1);
	end
end
os.exit(failures == 0 and 0 or 1);
