-- What one host asks the daemon, and how long who asks waits for it.

local async = require "util.async";
local protocol = module:require "protocol";

local questions = {};
questions.__index = questions;

-- Logins and what a user does before everything that merely asks who exists.
local NOT_URGENT = { isuser = true };

local function new(host, settings, connection, log)
	return setmetatable({
		host = host, settings = settings, connection = connection, log = log;
		stopped = false; -- the host is going
	}, questions);
end

-- Whether whoever runs now can be suspended.
function questions.can_wait()
	return async.ready() and (not coroutine.isyieldable or coroutine.isyieldable());
end

-- A query that was submitted, or nil, "refused" or "unavailable", and why.
function questions:submit(command, user, secret, address)
	if not self.settings.commands[command] then
		return nil, "refused", command .. " is not in extauth_bridge_commands";
	end
	local line, refusal = protocol.compose(command, user, self.host, secret);
	if not line then
		self.log("info", "Query '%s' not sent: %s", command, refusal);
		return nil, "refused", refusal;
	end
	if self.stopped then return nil, "unavailable"; end
	if not self.can_wait() then
		-- A login by HTTP on Prosody 0.11, for one.
		local level = NOT_URGENT[command] and "debug" or "warn";
		self.log(level, "Query '%s' not sent: nobody can wait for its answer where it was asked", command);
		return nil, "unavailable";
	end
	local query = {
		line = line, address = protocol.address(address), urgent = not NOT_URGENT[command];
		timeout = self.settings.timeout, owner = self;
	};
	self.connection:submit(query);
	return query;
end

-- Wait for the query's verdict. Others may wait for the same one.
function questions.wait_for(query)
	if query.verdict then return query.verdict; end
	local wait, done = async.waiter();
	local waiting = true;
	table.insert(query.wakers, function ()
		if waiting then done(); end
	end);
	wait();
	waiting = false;
	return query.verdict or "unavailable"; -- if something else woke us
end

-- Returns "granted", "denied", "unavailable", or "refused" (not asked) and why.
function questions:ask(command, user, secret, address)
	local query, verdict, refusal = self:submit(command, user, secret, address);
	if not query then return verdict, refusal; end
	verdict = self.wait_for(query);
	self.connection.withdraw(query);
	return verdict;
end

function questions:stop()
	self.stopped = true;
	self.connection:leave(self);
end

return new;
