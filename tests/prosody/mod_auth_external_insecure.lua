-- Stands in for the community's module of this name, which no package brings: asks a helper on a terminal, by lines.
--
-- For tests only, with Prosody and lpty as they are. What a helper and a client can see of the two is the same: one
-- terminal for each host, started at the first question and not again after a failure; one blocking read for each
-- answer, compared whole.

local lpty = require "lpty";
local new_sasl = require "util.sasl".new;
local usermanager = require "core.usermanager";

local command = module:get_option_string("external_auth_command");
local timeout = module:get_option_number("external_auth_timeout", 5);
assert(module:get_option_string("external_auth_protocol", "generic") == "generic", "there is no other protocol here");

local pty = lpty.new { throw_errors = false, no_local_echo = true, use_path = false };

local function started()
	if pty:hasproc() then return true; end
	local kind, code = pty:exitstatus();
	if kind and (kind ~= "exit" or code ~= 0) then return false; end
	return pty:startproc(command);
end

local function ask(...)
	local line = table.concat({ ... }, ":");
	if #line > 1000 then return nil, "policy-violation"; end
	if not started() then
		module:log("error", "The helper %s does not run", command);
		return nil, "internal-server-error";
	end
	pty:send(line .. "\n");
	local reply, why = pty:read(timeout);
	local answer = reply and reply:match("^([01])\r?\n?$");
	if answer == "1" then return true; end
	if answer == "0" then return nil, "not-authorized"; end
	if reply then
		module:log("warn", "Unable to interpret data from auth process, %d bytes", #reply);
	else
		module:log("warn", "No answer from the helper: %s", why);
	end
	return nil, "internal-server-error";
end

local provider = {};

function provider.test_password(user, password) return ask("auth", user, module.host, password); end
function provider.set_password(user, password) return ask("setpass", user, module.host, password); end
function provider.user_exists(user) return ask("isuser", user, module.host); end
function provider.create_user() return nil, "not available"; end

function provider.get_sasl_handler()
	return new_sasl(module.host, {
		plain_test = function (_, user, password, realm) return usermanager.test_password(user, realm, password), true; end;
	});
end

local function stop() pty:endproc(); end
module.unload = stop;
module:hook_global("server-cleanup", stop);

module:provides("auth", provider);
