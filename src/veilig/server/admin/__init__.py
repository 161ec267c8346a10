"""What do the people who run a gateway look at? One page and one API over the same acts, without scripts."""
