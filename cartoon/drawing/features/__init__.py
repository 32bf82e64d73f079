"""The features of a face, drawn with a pen from its landmarks: eyes, brows, mouth, nose, jaw."""
