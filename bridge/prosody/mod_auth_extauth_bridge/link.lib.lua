-- What is on a connection to the daemon: the questions that were sent, and how their answers come.

local new_queue = module:require "queue";

local WINDOW = 192; -- lines in flight: below the daemon's window of 256, so that it never stops reading
local MANY = 4 * WINDOW; -- lines whose order is remembered, answered ones among them
local PER_LINE = 1280; -- bytes that a short line occupies in the kernel

local link = { WINDOW = WINDOW };
link.__index = link;

--   hello      what was sent first
--   patience   seconds that its answer may take
function link.new(socket, hello, patience, now)
	return setmetatable({
		socket = socket, hello = hello, patience = patience;
		mode = "greeting"; -- then "tagged" or "plain"
		half = ""; -- an answer without its end
		open = {}; -- queries, by their tags
		count = 0; -- of these
		cost = 0; -- bytes that they may occupy in the kernel
		sent = new_queue(); -- queries in their order
		answers = 0; -- how many have come
		went_on = now; -- when the daemon last answered, or when it was asked after having been idle
	}, link);
end

-- A query was sent. It then has its tag, `cost`, `late_at` (the daemon is late with it: after its deadline if it had to
-- wait before), and `before` (how many answers had come).
function link:put(query, tag, size, now)
	query.tag, query.cost, query.before, query.late_at = tag, PER_LINE + size, self.answers, now + query.timeout;
	query.line = nil; -- a password is kept no longer than it is needed
	if self.count == 0 then self.went_on = now; end
	self.count, self.cost = self.count + 1, self.cost + query.cost;
	self.open[tag] = query;
	self.sent:push(query);
end

-- The answer to this tag has come. Returns its query.
function link:take(tag, now)
	local query = self.open[tag];
	self.open[tag] = nil;
	self.count, self.cost, self.answers, self.went_on = self.count - 1, self.cost - query.cost, self.answers + 1, now;
	return query;
end

-- The bytes that may lie in the kernel if a line of this size is sent, too.
function link:cost_with(size)
	return self.cost + PER_LINE + 2 * size;
end

-- Tags of the open questions, in their order.
function link:tags()
	local tags = {};
	for number = self.sent.first, self.sent.last do
		local tag = self.sent[number].tag;
		if self.open[tag] then tags[#tags + 1] = tag; end
	end
	return tags;
end

-- The query that was sent first of those that are open, if any is.
function link:oldest()
	local sent = self.sent;
	while sent:length() > 0 and not self.open[sent:head().tag] do sent:pop(); end
	if sent:length() > MANY then -- behind one that never is answered
		self.sent = new_queue();
		for number = sent.first, sent.last do
			if self.open[sent[number].tag] then self.sent:push(sent[number]); end
		end
	end
	return self.sent:head();
end

-- How many lines may be on the connection now. If the daemon's window is smaller than ours, lines wait there unread,
-- and the oldest may be late although the daemon makes progress. Then it is as many as were answered while that one
-- waited: that many can be answered in time.
function link:room(now)
	local oldest = self:oldest();
	return oldest and oldest.late_at <= now and self.answers - oldest.before or WINDOW;
end

function link:is_busy()
	return self.count > 0 or self.mode == "greeting";
end

return link;
