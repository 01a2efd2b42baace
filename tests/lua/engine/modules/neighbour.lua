return "beside the file that asks"
