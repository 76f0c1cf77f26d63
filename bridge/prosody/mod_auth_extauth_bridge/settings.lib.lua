-- The module's options for one host. One that is wrong is named in the log, and what is taken instead lets nobody do
-- more than was meant: the default, or for a list what is right of it. Another daemon is never asked instead.

local SOCKET = "/run/extauth-bridge/auth.sock";
local COMMANDS = { "auth", "isuser", "setpass" };
local KNOWN = { auth = true, isuser = true, setpass = true, tryregister = true, removeuser = true };
local PATH_MAX = 107; -- bytes, of a Unix socket's name on Linux
local DAY = 86400;

local function complain(module, name, must, instead)
	module:log("error", "%s must be %s%s", name, must, instead and "; taking " .. instead or "");
end

local function read_socket(module)
	local path = module:get_option("extauth_bridge_socket", SOCKET);
	if type(path) == "string" and path:sub(1, 1) == "/" and #path <= PATH_MAX then return path; end
	complain(module, "extauth_bridge_socket", ("an absolute path in quotes, of at most %d bytes"):format(PATH_MAX));
	return tostring(path);
end

local function read_seconds(module, name, default, none)
	local seconds = module:get_option(name, default);
	if type(seconds) == "number" and (seconds > 0 or seconds == none) and seconds < DAY then return seconds; end
	local what = ("a number of seconds from %s to %d, without quotes or a unit"):format(none or "above 0", DAY);
	complain(module, name, what, default);
	return default;
end

local function read_commands(module)
	local listed, commands = module:get_option("extauth_bridge_commands", COMMANDS), {};
	if type(listed) ~= "table" then
		complain(module, "extauth_bridge_commands", "a list: { \"auth\", \"isuser\", \"setpass\" }", "this one");
		listed = COMMANDS;
	end
	for _, command in pairs(listed) do
		if KNOWN[command] then
			commands[command] = true;
		else
			module:log("error", "extauth_bridge_commands: there is no command '%s', only auth, isuser, setpass, %s",
				tostring(command), "tryregister and removeuser");
		end
	end
	return commands;
end

local function read_flag(module, name, default)
	local flag = module:get_option(name, default);
	if type(flag) == "boolean" then return flag; end
	complain(module, name, "true or false, without quotes", tostring(default));
	return default;
end

local function read(module)
	local settings = {
		socket = read_socket(module);
		timeout = read_seconds(module, "extauth_bridge_timeout", 5);
		remember = read_seconds(module, "extauth_bridge_remember", 300, 0); -- 0: not at all
		commands = read_commands(module);
		saslprep = read_flag(module, "extauth_bridge_saslprep", true);
		oauthbearer = read_flag(module, "extauth_bridge_oauthbearer", false);
		check_tokens = read_flag(module, "extauth_bridge_check_tokens", false);
	};
	if settings.check_tokens and not settings.commands.isuser then
		module:log("error", "extauth_bridge_check_tokens: no token is believed without isuser in extauth_bridge_commands");
	end
	return settings;
end

return read;
