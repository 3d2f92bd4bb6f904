"""Pictures of slices with what the model says about them."""
