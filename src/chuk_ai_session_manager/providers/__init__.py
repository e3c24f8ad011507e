"""What providers send and take, in the common form and in their own."""
