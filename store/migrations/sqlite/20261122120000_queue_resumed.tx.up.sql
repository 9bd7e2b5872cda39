-- Tells a pause in Redis that has ended, whose end did not get there, from one that somebody set there since.
ALTER TABLE queues ADD COLUMN resumed_at text;
