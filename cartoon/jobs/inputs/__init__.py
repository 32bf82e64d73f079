"""What the user named, as photos of a job: files, folders, zips, addresses."""
