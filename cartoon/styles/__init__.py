"""What a look is: the network, its weights and the register of styles."""
