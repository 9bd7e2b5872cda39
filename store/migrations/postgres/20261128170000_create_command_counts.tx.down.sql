DROP TABLE command_counts;
