def main():
    print("tidy")
