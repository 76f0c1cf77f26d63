-- mod_auth_extauth_bridge: authenticates Prosody's users through the shared daemon of extauth-bridge.
--
--   protocol     what goes over the wire; no Prosody in it
--   socket, verdicts, queue
--   connection   to the daemon, one for all hosts that name the same socket
--   settings     of a host, from Prosody's configuration
--   questions    that it asks the daemon, and waits for
--   provider     what Prosody asks us
--   stanzas      that are handled where nobody could wait
--
-- For Lua 5.1 to 5.4 and Prosody 0.11 to 13. Licence: MIT.

module:set_global(); -- loaded once for all hosts, each of which is added below

local new_connection = module:require "connection";
local read_settings = module:require "settings";
local new_questions = module:require "questions";
local new_provider = module:require "provider";
local new_holding = module:require "stanzas";

local connections = {}; -- by the path of the socket; those that a host uses

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
	local connection = connection_to(settings.socket);
	local questions = new_questions(api.host, settings, connection, log);
	local holding = new_holding(api.host, log);

	function api.unload()
		holding:stop();
		questions:stop();
		leave(connection);
	end

	api:provides("auth", new_provider(api.host, questions));
	holding:hook(api);
end
