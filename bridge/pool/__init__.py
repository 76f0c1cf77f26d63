"""Which program answers a question, and when programs are started, replaced and stopped."""
