-- First in, first out.

local queue = {};
queue.__index = queue;

local function new()
	return setmetatable({ first = 1, last = 0 }, queue);
end

function queue:length()
	return self.last - self.first + 1;
end

function queue:push(item)
	self.last = self.last + 1;
	self[self.last] = item;
end

function queue:head()
	return self[self.first];
end

function queue:pop()
	local item = self[self.first];
	self[self.first] = nil;
	self.first = self.first + 1;
	return item;
end

return new;
