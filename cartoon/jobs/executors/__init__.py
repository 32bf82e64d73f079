"""Who draws a job's photos: this process, a process of their own, a cluster."""
