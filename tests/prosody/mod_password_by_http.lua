-- Asks for a password as modules do that get one by HTTP.
local test_password = require "core.usermanager".test_password;

local function answer(event)
	local user, password = event.request.body:match("^([^:]*):(.*)$");
	return test_password(user, module.host, password) and 204 or 401;
end

module:provides("http", { default_path = "/password", route = { POST = answer } });
