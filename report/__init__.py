"""What people look at: charts, pages and pictures, the same everywhere."""
