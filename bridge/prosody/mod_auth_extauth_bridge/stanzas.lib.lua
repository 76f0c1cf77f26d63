-- Stanzas that are handled where nobody could wait for an answer.
--
-- Those from clients and other servers are handled where code may wait (util.async). Those from components and from
-- this server's own modules are not, so we could not find out whether their user exists: a gateway's message to
-- somebody offline would bounce. So those are handed to runners of ours: one at a time for each origin and user, so
-- that they keep their order, and several users' at once.

local async = require "util.async";
local jid = require "util.jid";
local st = require "util.stanza";
local timer = require "util.timer";
local new_queue = module:require "queue";

local MAX_HELD = 1000; -- stanzas in the queues; any more are handled immediately, without asking
local AT_ONCE = 32; -- stanzas being handled; a flood of them must leave the daemon time for logins
local EARLY = 1000000; -- before everything else
local EVENTS = { "message/bare", "message/full", "presence/bare", "iq/bare" };

local holding = {};
holding.__index = holding;

local function new(host, log)
	local self = setmetatable({
		host = host, log = log;
		lines = {}; -- queues of stanzas, by origin and user
		standing = new_queue(); -- those of `lines` of which no stanza is being handled
		held = 0; -- stanzas queued or being handled
		busy = 0; -- stanzas being handled
		stopped = false; -- the host is going
	}, holding);
	self.watchers = {
		error = function (runner, err)
			log("error", "Error while handling a stanza: %s", err);
			self:handled(runner.data);
		end;
	};
	return self;
end

function holding:handled(line)
	self.held, self.busy = self.held - 1, self.busy - 1;
	if line:length() > 0 then self.standing:push(line); else self.lines[line.key] = nil; end
	timer.add_task(0, function () self:handle_more(); end);
end

function holding:handle_one(line)
	local stanza = line:pop();
	if prosody.hosts[self.host] then prosody.core_post_stanza(line.origin, stanza); end -- unless it has gone meanwhile
	self:handled(line);
end

function holding:handle_more()
	while self.standing:length() > 0 and self.busy < AT_ONCE do
		local line = self.standing:pop();
		self.busy = self.busy + 1;
		async.runner(function () self:handle_one(line); end, self.watchers, line):run(line);
	end
end

-- An event's handler: true if the stanza is held.
function holding:hold(event)
	local origin, stanza = event.origin, event.stanza;
	if self.stopped or async.ready() or (origin.type ~= "component" and origin.type ~= "local") then return; end
	local user = jid.node(stanza.attr.to);
	if not user or self.held >= MAX_HELD then return; end
	local key = tostring(origin.host) .. " " .. user;
	local line = self.lines[key];
	if not line then
		if prosody.hosts[self.host].sessions[user] then return; end -- online, so the user exists
		line = new_queue();
		line.key, line.origin = key, prosody.hosts[origin.host] or origin; -- its connection may be gone by then
		self.lines[key] = line;
		self.standing:push(line);
	end
	line:push(st.clone(stanza)); -- its sender may change and reuse it
	self.held = self.held + 1;
	self:handle_more();
	return true;
end

function holding:hook(module)
	for _, event in ipairs(EVENTS) do
		module:hook(event, function (data) return self:hold(data); end, EARLY);
	end
end

function holding:stop()
	self.stopped = true;
end

return new;
