-- Stanzas to users who are offline, of whom it must first be asked whether they exist.
--
-- Stanzas from clients and other servers are handled where code may wait (util.async). Those from components and from
-- this server's own modules are not: a gateway's message to somebody offline would bounce. And a client's presence is
-- sent to all its contacts before anything else of that client is handled: it would wait for every one of them.
-- So such stanzas are handed to runners of ours: one at a time for each origin and user, so that they keep their
-- order, and several users' at once. What else comes from the same origin for the same user waits behind them.
--
-- While nobody knows whether a user exists, a message to him comes back as one to be sent again later, and so does
-- what would change his roster, where it could not be saved.

local async = require "util.async";
local jid = require "util.jid";
local st = require "util.stanza";
local timer = require "util.timer";
local new_queue = module:require "queue";

local AT_ONCE = 32; -- stanzas being handled; a flood of them must leave the daemon time for logins
local A_TURN = 8; -- stanzas that are taken up in one turn of the main loop: logins are handled in between
local EARLY = 1000000; -- before everything else
local EVENTS = { "message/bare", "message/full", "presence/bare", "presence/full", "iq/bare" };
-- Stanzas in the queues, of each type of origin; any more are handled immediately. A presence that goes to many
-- contacts takes up hardly more than their addresses.
local MOST = { component = 1000, ["local"] = 1000, c2s = 20000 };

local TO_BE_REPEATED = { -- by name and type
	message = { normal = true, chat = true };
	presence = { subscribe = true, subscribed = true, unsubscribe = true, unsubscribed = true };
};
local UNAVAILABLE = "The authentication service is not available at the moment";

local holding = {};
holding.__index = holding;

local function new(host, existence, log)
	local self = setmetatable({
		host = host, existence = existence, log = log;
		lines = {}; -- queues of stanzas, by origin and user
		standing = new_queue(); -- those of `lines` of which no stanza is being handled
		held = { component = 0, ["local"] = 0, c2s = 0 }; -- stanzas queued or being handled, by type of origin
		busy = 0; -- stanzas being handled
		due = false; -- the next turn is scheduled
		ours = setmetatable({}, { __mode = "k" }); -- these
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
	self.held[line.kind], self.busy = self.held[line.kind] - 1, self.busy - 1;
	if line:length() > 0 then self.standing:push(line); else self.lines[line.key] = nil; end
	self:handle_soon();
end

function holding:handle_soon()
	if self.due then return; end
	self.due = true;
	timer.add_task(0, function ()
		self.due = false;
		self:handle_more();
	end);
end

function holding:handle_one(line)
	local stanza = st.clone(line:pop());
	self.ours[stanza] = true;
	if prosody.hosts[self.host] then prosody.core_post_stanza(line.origin, stanza); end -- unless it has gone meanwhile
	self:handled(line);
end

function holding:handle_more()
	for _ = 1, A_TURN do
		if self.standing:length() == 0 or self.busy >= AT_ONCE then return; end
		local line = self.standing:pop();
		self.busy = self.busy + 1;
		async.runner(function () self:handle_one(line); end, self.watchers, line):run(line);
	end
	self:handle_soon();
end

-- A copy that shares with the stanza what it contains, but not the list of that.
local function shallow_copy(stanza)
	local attributes = {};
	for name, value in pairs(stanza.attr) do attributes[name] = value; end
	local copy = st.stanza(stanza.name, attributes);
	copy.namespaces = stanza.namespaces;
	for number, child in ipairs(stanza) do copy[number] = child; end
	for number, child in ipairs(stanza.tags) do copy.tags[number] = child; end
	return copy;
end

-- Whether a stanza is to be held though no other waits before it.
function holding:must_wait(origin, stanza, user)
	if prosody.hosts[self.host].sessions[user] then return false; end -- online, so the user exists
	if self.existence:known(user) ~= nil then return false; end
	if origin.type == "c2s" then return stanza.name == "presence"; end
	return not async.ready();
end

function holding:hold(origin, stanza, user)
	local kind = origin.type;
	if not MOST[kind] or self.held[kind] >= MOST[kind] then return false; end
	local key = (origin.full_jid or tostring(origin.host)) .. " " .. user;
	local line = self.lines[key];
	if not line then
		if not self:must_wait(origin, stanza, user) then return false; end
		line = new_queue();
		line.key, line.kind = key, kind;
		line.origin = kind ~= "c2s" and prosody.hosts[origin.host] or origin; -- its connection may be gone by then
		self.lines[key] = line;
		self.standing:push(line);
	end
	line:push(kind == "c2s" and shallow_copy(stanza) or st.clone(stanza)); -- its sender may change and reuse it
	self.held[kind] = self.held[kind] + 1;
	if async.ready() then self:handle_soon(); else self:handle_more(); end
	return true;
end

-- Send back what cannot be handled before we know more.
function holding:refuse(origin, stanza, user)
	local types = TO_BE_REPEATED[stanza.name];
	if not types or not types[stanza.attr.type or "normal"] then return false; end
	if prosody.hosts[self.host].sessions[user] or self.existence:ask(user) ~= "unavailable" then return false; end
	if origin.send then origin.send(st.error_reply(stanza, "wait", "resource-constraint", UNAVAILABLE)); end
	return true;
end

function holding:hook(module)
	local function handler(event)
		local origin, stanza = event.origin, event.stanza;
		local user = jid.node(stanza.attr.to);
		if self.stopped or not user then return; end
		if not self.ours[stanza] and self:hold(origin, stanza, user) or self:refuse(origin, stanza, user) then
			return true;
		end
	end
	for _, event in ipairs(EVENTS) do module:hook(event, handler, EARLY); end
end

function holding:stop()
	self.stopped = true;
end

return new;
