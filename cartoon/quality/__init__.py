"""Does a drawing look like one of its photo, or did something break on the way?"""
