DROP TABLE queues;
DROP TABLE workers;
DROP TABLE job_errors;
DROP TABLE job_labels;
DROP VIEW jobs;
DROP TABLE outcomes;
DROP TABLE open_jobs;
DROP TABLE submissions;
