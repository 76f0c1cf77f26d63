-- `user:create` and `user:password` in the shell of Prosody 13, and so `prosodyctl adduser` and `prosodyctl passwd`.
--
-- Prosody sets the password inside a promise there, where nobody can wait for an answer. For our hosts this does the
-- same in a runner. Before 13 there is nothing to do.

local async = require "util.async";
local jid = require "util.jid";
local usermanager = require "core.usermanager";

local ROLE = "prosody:member"; -- as in mod_admin_shell

-- Once the operator has typed a password, or has given one: what `use` returns of it, which is true and what to tell
-- him, or nil and why not.
local function with_password(shell, given, use)
	local promise = require "util.promise"; -- not in 0.11
	return promise.resolve(given or shell.session.request_input("password")):next(function (password)
		return promise.new(function (resolve, reject)
			local failed = { error = function (_, err) reject(err); end };
			async.runner(function ()
				local ok, said = use(password);
				if ok then resolve(said); else reject(said); end
			end, failed):run(true);
		end);
	end);
end

local commands = {};

function commands.password(shell, user, host, given)
	if not usermanager.user_exists(user, host) then return nil, "No such user"; end
	return with_password(shell, given, function (password)
		local ok, err = usermanager.set_password(user, password, host, nil);
		if not ok then return nil, "Could not change password for user: " .. err; end
		return true, "User password changed";
	end);
end

function commands.create(shell, user, host, given, role)
	if usermanager.user_exists(user, host) then return nil, "User exists"; end
	role = role or module:get_option_string("default_provisioned_role", ROLE);
	return with_password(shell, given, function (password)
		local ok, err = usermanager.create_user_with_role(user, password, host, role);
		if not ok then return nil, "Could not create user: " .. err; end
		return true, ("Created %s with role '%s'"):format(jid.join(user, host), role);
	end);
end

local taken = setmetatable({}, { __mode = "k" }); -- sections of the shell's commands

-- Take over for hosts of which `is_ours` is true. May be called again, as the shell may have been reloaded.
local function install(env, is_ours)
	local section = env.user;
	if not usermanager.create_user_with_role or not section or taken[section] then return; end
	taken[section] = true;
	for name, command in pairs(commands) do
		local original = section[name];
		section[name] = function (shell, address, ...)
			local user, host = jid.split(address);
			if user and is_ours(host) then return command(shell, user, host, ...); end
			return original(shell, address, ...);
		end
	end
end

return install;
