"""Bulk copies in processes of their own: reading, hashing, encrypting and sending off the agent.

One copy of a disk keeps a processor busy; the process that answers CloudStack must not wait for it.
`transfer` starts a worker for each copy and follows it; `worker` is that process; `ends` are the
two places that a copy runs between; `engine` moves the bytes and resumes after a lost connection.
"""
