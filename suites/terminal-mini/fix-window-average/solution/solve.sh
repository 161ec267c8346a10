sed -i 's/range(len(values) - size)/range(len(values) - size + 1)/' /app/stats/window.py
