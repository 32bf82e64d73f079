"""What is seen in a photo: faces, their landmarks, people; and the geometry of one face."""
