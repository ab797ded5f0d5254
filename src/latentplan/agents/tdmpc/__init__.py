"""TD-MPC and TD-MPC2: short-horizon planning with a terminal value in a decoder-free latent space."""
