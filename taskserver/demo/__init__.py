"""The program behind ``taskserver demo``: an agent, two workers and a broker, with every result checked."""
