"""TD-MPC and TD-MPC2: short plans in a latent space without a decoder, and a value for the rest."""
