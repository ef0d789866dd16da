"""The same road in JavaScript: what a visitor's browser needs to find and classify faces by itself."""
