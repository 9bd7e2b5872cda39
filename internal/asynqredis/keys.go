package asynqredis

// QueuesKey is asynq's set of the names of all queues.
const QueuesKey = "asynq:queues"

// Channels of Redis that Waybill's processes talk on.
const (
	WakeUpChannel = "waybill:wakeup" // a queue's name: it has work
	CancelChannel = "waybill:cancel" // a job's id: stop its handler
)

// QueuePrefix begins every key of a queue: asynq:{default}: with "pending" is its pending list.
func QueuePrefix(queue string) string { return "asynq:{" + queue + "}:" }

// TaskKey is the hash of a task.
func TaskKey(queue, taskID string) string { return QueuePrefix(queue) + "t:" + taskID }

// PausedKey exists while a queue is paused. Its value is when, in Unix seconds.
func PausedKey(queue string) string { return QueuePrefix(queue) + "paused" }
