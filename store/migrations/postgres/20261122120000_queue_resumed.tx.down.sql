ALTER TABLE queues DROP COLUMN resumed_at;
