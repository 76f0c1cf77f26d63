-- A banner, as for a person.
io.stdout:setvbuf("no");
print("auth helper ready");
for line in io.lines() do
	local command, user, _, secret = line:match("^([^:]*):([^:]*):([^:]*):?(.*)$");
	local known = user:match("[^-]*$"):sub(1, 2) ~= "no" and command ~= "auth" or secret == "pw-" .. user;
	print(known and (command == "auth" or command == "isuser" or command == "setpass") and 1 or 0);
end
