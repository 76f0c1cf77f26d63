-- mod_auth_extauth_bridge: authenticates Prosody's users through the shared daemon of extauth-bridge.
--
--   protocol     what goes over the wire; no Prosody in it
--   socket, verdicts, queue
--   link         what is on a connection
--   connection   to the daemon, one for all hosts that name the same socket
--   settings     of a host, from Prosody's configuration
--   questions    that it asks the daemon, and waits for
--   existence    of its users, remembered for a while
--   passwords    as the programs get them
--   accounts     what else Prosody wants to know about one
--   provider     what Prosody asks us
--   tokens       that are not believed of users who are gone
--   stanzas      to users who are offline
--   shell        commands that set passwords
--
-- For Lua 5.1 to 5.4 and Prosody 0.11 to 13. Licence: MIT.

module:set_global(); -- loaded once for all hosts, each of which is added below

local new_connection = module:require "connection";
local read_settings = module:require "settings";
local new_questions = module:require "questions";
local new_existence = module:require "existence";
local new_passwords = module:require "passwords";
local new_accounts = module:require "accounts";
local new_provider = module:require "provider";
local hook_tokens = module:require "tokens";
local new_holding = module:require "stanzas";
local install_commands = module:require "shell";

local connections = {}; -- by the path of the socket; those that a host uses
local hosts = {}; -- that are ours, by name

local function log_of(api)
	return function (...) api:log(...); end;
end

local function connection_to(path)
	local connection = connections[path] or new_connection(path, log_of(module));
	connections[path] = connection;
	connection.hosts = (connection.hosts or 0) + 1;
	return connection;
end

local function leave(connection)
	connection.hosts = connection.hosts - 1;
	if connection.hosts > 0 then return; end
	connections[connection.path] = nil;
	connection:hang_up();
end

function module.add_host(api)
	local settings, log = read_settings(api), log_of(api);
	hosts[api.host] = true;
	local connection = connection_to(settings.socket);
	local questions = new_questions(api.host, settings, connection, log);
	local existence = new_existence(questions, settings.remember);
	local holding = new_holding(api.host, existence, log);
	local accounts = new_accounts(api.host, existence, api:open_store("extauth_bridge"), settings.check_tokens);

	function api.unload()
		hosts[api.host] = nil;
		holding:stop();
		questions:stop();
		leave(connection);
	end

	api:provides("auth", new_provider({
		name = api.host, settings = settings, log = log;
		questions = questions, existence = existence, accounts = accounts;
		passwords = new_passwords(settings.saslprep);
	}));
	holding:hook(api);
	if settings.check_tokens then hook_tokens(api, accounts); end
end

-- The shell may be loaded before or after this.
local function take_over_commands()
	install_commands(module:shared("/*/admin_shell/env"), function (host) return hosts[host]; end);
end

module:hook_global("module-loaded", function (event)
	if event.module == "admin_shell" then take_over_commands(); end
end);
take_over_commands();
