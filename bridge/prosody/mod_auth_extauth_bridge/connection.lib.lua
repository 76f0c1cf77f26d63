-- One connection to the daemon, for all hosts of this server that name the same socket.
--
--   * Nothing here blocks. A query ends within its time: answered, or unavailable.
--   * An answer counts only if the daemon follows the protocol exactly, in time. At anything else, or a disconnect,
--     the connection is closed: queries sent on it are unavailable; what the daemon may still send is lost with it.
--   * A tag is used once. A query whose time is over is forgotten, but its tag stays its own: its answer is nobody's.
--   * Only whole lines are sent: part of one, cut off by a close, could be a password that nobody chose. On Linux a
--     Unix socket takes up to 8 KiB, which LuaSocket sends at once, whole or not at all; a longer line is sent while
--     so little is unanswered that there is room for it.
--   * No line, no secret, no user name is ever logged.

local monotonic = require "util.time".monotonic or require "util.time".now;
local timer = require "util.timer";
local traceback = debug.traceback;
local links = module:require "link";
local new_queue = module:require "queue";
local protocol = module:require "protocol";
local sockets = module:require "socket";
local verdicts = module:require "verdicts";
local settle, deliver = verdicts.settle, verdicts.deliver;

local KEPT = 32; -- lines in flight, for what is urgent
local MAX_WAITING = 2048; -- lines not yet sent, of either kind
local AT_ONCE = 8192; -- bytes that the kernel takes whole or not at all
local SURELY_FREE = 131072; -- bytes of its buffer; Linux has 212992
local GRACE = 2; -- seconds a daemon may be away, for a restart, before it counts as down; at most half a query's time
local AGAIN_FIRST, AGAIN_MOST = 0.05, 1; -- seconds between attempts to connect
local TICK = 0.02; -- seconds between checks of deadlines and unsent lines, while a query is open
local IDLE = 60; -- seconds until a connection that nobody uses is closed
local READ = 8192; -- bytes: many times what WINDOW answers take

local connection = {};
connection.__index = connection;

-- A query is { line, address, urgent, timeout, owner } as it is made, and then has
--   deadline          when it ends
--   verdict, wakers   see `verdicts`; `link` has what it gets when it is sent

local function new(path, log)
	return setmetatable({
		path = path, log = log;
		urgent = new_queue(), other = new_queue(); -- queries not yet sent
		connect_at = 0; -- no attempt before
		failures = 0; -- since the last valid answer
		-- down_since, lost_at: the first and the last of them
		unanswered = 0; -- queries, since the daemon was lost
		complained = false; -- the failure was logged
		hello = protocol.TAGGED;
		last_tag = 0; -- of all connections: an answer that goes astray to another one is to be noticed
		ticking = false, watching = false; -- the next tick, the next look at whether it is idle, is scheduled
	}, connection);
end

-- Failure ---------------------------------------------------------------------------------------------------------

-- Settle a query without an answer.
function connection:fail(query)
	if query.verdict then return; end
	self.unanswered = self.unanswered + 1;
	settle(query, "unavailable");
end

function connection:give_up(now)
	for _, queue in ipairs({ self.urgent, self.other }) do
		for number = queue.first, queue.last do
			local query = queue[number];
			if not now or now - self.down_since >= math.min(GRACE, query.timeout / 2) then self:fail(query); end
		end
	end
	self:forget_settled();
end

-- Log that queries fail: once, until the daemon answers again.
function connection:complain(reason)
	if self.complained or self.unanswered == 0 then return; end
	self.complained = true;
	self.log("warn", "The daemon at %s %s; unanswered so far: %d", self.path, reason, self.unanswered);
end

-- Its end --------------------------------------------------------------------------------------------------------

-- End the connection; queries sent on it are unavailable.
function connection:hang_up()
	local gone = self.link;
	self.link, self.hello = nil, protocol.TAGGED;
	if not gone then return; end
	for _, query in pairs(gone.open) do self:fail(query); end
	gone.drop();
end

-- The daemon cannot be reached, or cannot be trusted any more. Back off.
--   since   when that began, if it was not now
function connection:lose(reason, since)
	local now = monotonic();
	self:hang_up();
	if self.failures > 0 then
		local pause = math.min(AGAIN_MOST, AGAIN_FIRST * 2 ^ math.min(self.failures - 1, 10));
		self.connect_at = now + pause * (0.75 + math.random() / 4);
	end
	self.failures = self.failures + 1;
	if not self.lost_at or now - self.lost_at > GRACE + AGAIN_MOST then self.down_since = since or now; end
	self.lost_at = now;
	self:give_up(now);
	self:complain(reason);
end

function connection:answered()
	self.failures, self.lost_at = 0, nil;
	if self.complained then
		self.log("info", "The daemon answers again; queries without an answer meanwhile: %d", self.unanswered);
	end
	self.unanswered, self.complained = 0, false;
end

-- Answers --------------------------------------------------------------------------------------------------------

-- The answer to the hello. Returns why the daemon cannot be trusted, if so.
function connection:greeted(heard)
	local link = self.link;
	local answer, doubt = protocol.greeting(heard);
	if doubt then return doubt; end
	if answer == "more" then link.half = heard; return; end
	link.half, link.went_on = "", monotonic();
	if answer == "no" and link.hello == protocol.TAGGED then
		-- An older daemon, which may still know a third answer: it must be asked for that on a new connection.
		if not self.old then self.log("info", "The daemon at %s is older than this module", self.path); end
		self.old = true;
		self:hang_up();
		self.hello = protocol.ANSWERS;
		return;
	end
	link.mode = link.hello == protocol.TAGGED and "tagged" or "plain";
	link.third = answer == "yes";
end

-- Process what the daemon sent. Returns why it cannot be trusted, if so; then none of it counts.
function connection:take(data)
	local link = self.link;
	local heard = link.half .. data;
	if link.mode == "greeting" then return self:greeted(heard); end
	local answers, half;
	if link.mode == "tagged" then
		answers, half = protocol.tagged_answers(heard, link.open, link.count);
	else
		answers, half = protocol.plain_answers(heard, link:tags(), link.third);
	end
	if not answers then return half; end
	link.half = half;
	local now = monotonic();
	for _, answer in ipairs(answers) do
		local query = link:take(answer[1], now);
		if query.deadline <= now then -- perhaps the answer was in time, but we were not
			self:fail(query);
		else
			settle(query, answer[2]);
			self:answered();
		end
	end
	self:watch_idle();
end

function connection:receive()
	local link = self.link;
	local data, err, partial = link.socket:receive(READ);
	data = data or partial or "";
	local doubt = data ~= "" and self:take(data);
	if link ~= self.link then return; end
	if doubt then
		self:lose(doubt);
	elseif err and err ~= "timeout" then
		if link:is_busy() then self:lose("closed the connection"); else self:hang_up(); end
	end
end

-- Close a connection that nobody has used for a while.
function connection:watch_idle()
	local link = self.link;
	if self.watching or not link or link:is_busy() then return; end
	self.watching = true;
	timer.add_task(math.max(0, link.went_on + IDLE - monotonic()), function ()
		self.watching = false;
		local now = self.link;
		if now and not now:is_busy() and now.went_on + IDLE <= monotonic() then
			self:hang_up();
		else
			self:watch_idle();
		end
	end);
end

-- Questions ------------------------------------------------------------------------------------------------------

function connection:send_line(query)
	local link = self.link;
	local tag = ("%d"):format(self.last_tag + 1);
	local text = link.mode == "tagged" and protocol.tagged(tag, query.address, query.line) or protocol.plain(query.line);
	if #text > AT_ONCE and link:cost_with(#text) > SURELY_FREE then return false; end
	local last, err, part = link.socket:send(text);
	if last == #text then
		self.last_tag = self.last_tag + 1;
		link:put(query, tag, #text, monotonic());
		return true;
	end
	-- If there is no room for any of it, the next tick tries again.
	if err ~= "timeout" or part ~= 0 then self:lose("does not take the question: " .. tostring(err)); end
	return false;
end

-- Make this the connection.
function connection:open(socket)
	local first = self.urgent:head() or self.other:head();
	local link = links.new(socket, self.hello, first.timeout, monotonic());
	link.drop = sockets.watch(socket, function ()
		local ok, err = xpcall(function () self:attend(); end, traceback);
		if not ok then
			self.log("error", "Error while reading answers: %s", err);
			self:lose("could not be understood");
		end
		deliver();
	end);
	self.link = link;
	local last, err = socket:send(link.hello);
	if last ~= #link.hello then self:lose("does not take the question: " .. tostring(err)); end
end

function connection:connect()
	if monotonic() < self.connect_at then return; end
	local socket, err = sockets.connect(self.path);
	if socket then
		self:open(socket);
	elseif err == "timeout" then
		self.connect_at = monotonic() + TICK;
	else
		self:lose("cannot be reached: " .. tostring(err));
	end
end

-- Time -----------------------------------------------------------------------------------------------------------

-- Drop a daemon that makes no progress, or that was sent more than it can answer in time: the next query then does not
-- queue behind those that will be late anyway.
function connection:check_progress(now)
	local link = self.link;
	if not link then return; end
	local oldest = link:oldest();
	if not oldest and link.mode ~= "greeting" then return; end
	if link.went_on + (oldest and oldest.timeout or link.patience) <= now then
		self:lose("gave no answer in time", link.went_on);
	elseif link.count > link:room(now) then
		self:lose("is too slow");
		self:give_up();
	end
end

function connection:forget_settled()
	for _, queue in ipairs({ self.urgent, self.other }) do
		while queue:length() > 0 and queue:head().verdict do queue:pop(); end
	end
end

-- Queries past their deadline are unavailable.
function connection:expire()
	local now = monotonic();
	self:check_progress(now);
	for _, queue in ipairs({ self.urgent, self.other, self.link and self.link.sent }) do
		for number = queue.first, queue.last do
			if queue[number].deadline <= now then self:fail(queue[number]); end
		end
	end
	self:forget_settled();
	self:complain("is too slow");
end

function connection:is_busy()
	local link = self.link;
	return self.urgent:length() + self.other:length() > 0 or link and link:is_busy();
end

function connection:keep_time()
	if self.ticking or not self:is_busy() then return; end
	self.ticking = true;
	timer.add_task(TICK, function ()
		self.ticking = false;
		self:keep_time();
		if self.link then self:receive(); end -- first: the daemon may have been in time when we were not
		self:expire();
		self:attend();
	end);
end

-- Send lines of this queue while fewer than `most` are on the connection.
function connection:send_from(queue, most, now)
	while queue:length() > 0 and self.link and self.link.count < most do
		local query = queue:head();
		if query.deadline <= now then self:fail(query); end
		if not query.verdict and not self:send_line(query) then return; end
		queue:pop();
	end
end

-- Process answers, then send waiting lines as far as there is room. What arrived before a line is sent is not an
-- answer to it.
function connection:attend()
	if self.link then self:receive(); end
	self:forget_settled();
	if not self.link and self.urgent:length() + self.other:length() > 0 then self:connect(); end
	if self.link and self.link.mode ~= "greeting" then
		local now = monotonic();
		local most = self.link:room(now);
		self:send_from(self.urgent, most, now);
		self:send_from(self.other, math.min(most, links.WINDOW - KEPT), now);
	end
	self:watch_idle();
	self:keep_time();
end

-- For those who ask ----------------------------------------------------------------------------------------------

-- The daemon has been away, or silent, for longer than a restart takes, and was so a moment ago.
function connection:is_down()
	if not self.lost_at or self.lost_at - self.down_since < GRACE then return false; end
	return self:is_busy() or monotonic() - self.lost_at <= GRACE + AGAIN_MOST;
end

-- Whether it may be tried again now by a question that does not matter much.
function connection:may_be_tried()
	return not self:is_busy() and monotonic() >= self.connect_at;
end

-- Take a query; it may have a verdict at once.
function connection:submit(query)
	query.deadline, query.wakers = monotonic() + query.timeout, {};
	local queue = query.urgent and self.urgent or self.other;
	if queue:length() < MAX_WAITING then
		queue:push(query);
		self:attend();
	else
		self:fail(query);
		self:complain("is too slow for so many queries");
	end
end

-- Nobody waits for it any more: whatever comes later is dropped.
function connection.withdraw(query)
	settle(query, "unavailable");
end

-- A host goes: its queries are unavailable now, which says nothing about the daemon.
function connection:leave(owner)
	for _, queue in ipairs({ self.urgent, self.other, self.link and self.link.sent }) do
		for number = queue.first, queue.last do
			if queue[number].owner == owner then settle(queue[number], "unavailable"); end
		end
	end
	self:forget_settled();
	deliver(); -- now: the host may be gone a moment later
end

return new;
