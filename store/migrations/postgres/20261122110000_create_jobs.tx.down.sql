DROP TABLE queues;
DROP TABLE workers;
DROP TABLE job_errors;
DROP TABLE job_labels;
DROP TABLE jobs;
