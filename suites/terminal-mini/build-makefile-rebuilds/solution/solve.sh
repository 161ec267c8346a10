cd /app && sed -i 's/-O1 -c/-O1 -MMD -c/; s/rm -f app $(OBJECTS)/rm -f app $(OBJECTS) $(OBJECTS:.o=.d)/' Makefile && printf '\n-include $(OBJECTS:.o=.d)\n' >> Makefile && make clean
