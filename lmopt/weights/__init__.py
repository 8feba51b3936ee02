"""How a matrix is stored: rounding and the storage plan that training and artifacts share."""
