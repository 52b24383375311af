/* Plays one actor's observations through an exported policy, as TF Serving loads it and without Python.
 *
 *   run_policy MODEL DESCRIPTION < steps
 *
 * Each step is an observation and is_first, two integers.
 * DESCRIPTION holds lines: "observation OP", "is_first OP", "action OP INDEX", and for each part of the state
 * "state IN_OP OUT_OP OUT_INDEX RANK DIM...". Prints one action for each step, an integer, and fails if by then
 * a Python library is loaded in the process.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

#define MAX_STATE 8

static void check(TF_Status *status) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s\n", TF_Message(status));
    exit(1);
  }
}

static TF_Output output(TF_Graph *graph, const char *name, int index) {
  TF_Output found = {TF_GraphOperationByName(graph, name), index};
  if (found.oper == NULL) {
    fprintf(stderr, "no operation %s\n", name);
    exit(1);
  }
  return found;
}

static bool python_is_loaded(void) {
  char line[4096];
  bool found = false, any = false;
  FILE *maps = fopen("/proc/self/maps", "r");
  while (maps && fgets(line, sizeof line, maps)) {
    any = any || strstr(line, "libtensorflow") != NULL;
    found = found || strstr(line, "libpython") != NULL;
  }
  if (!any) { /* what is loaded could not be read */
    fprintf(stderr, "no TensorFlow in /proc/self/maps\n");
    exit(1);
  }
  fclose(maps);
  return found;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session =
      TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  check(status);

  TF_Output inputs[2 + MAX_STATE], outputs[1 + MAX_STATE];
  TF_Tensor *given[2 + MAX_STATE], *found[1 + MAX_STATE];
  int states = 0;
  FILE *description = fopen(argv[2], "r");
  char kind[32], name[256], out[256];
  int index, rank;
  while (description && fscanf(description, "%31s %255s", kind, name) == 2) {
    if (strcmp(kind, "observation") == 0) {
      inputs[0] = output(graph, name, 0);
    } else if (strcmp(kind, "is_first") == 0) {
      inputs[1] = output(graph, name, 0);
    } else if (strcmp(kind, "action") == 0) {
      if (fscanf(description, "%d", &index) != 1) return 2;
      outputs[0] = output(graph, name, index);
    } else {
      int64_t dims[4] = {1};
      size_t bytes = sizeof(float);
      if (fscanf(description, "%255s %d %d", out, &index, &rank) != 3) return 2;
      for (int i = 0; i < rank; i++) {
        if (fscanf(description, "%ld", &dims[1 + i]) != 1) return 2;
        bytes *= dims[1 + i];
      }
      inputs[2 + states] = output(graph, name, 0);
      outputs[1 + states] = output(graph, out, index);
      given[2 + states] = TF_AllocateTensor(TF_FLOAT, dims, 1 + rank, bytes);
      memset(TF_TensorData(given[2 + states]), 0, bytes);
      states++;
    }
  }

  int64_t one[] = {1}, observation;
  int first;
  given[0] = TF_AllocateTensor(TF_INT64, one, 1, sizeof(int64_t));
  given[1] = TF_AllocateTensor(TF_BOOL, one, 1, sizeof(bool));
  while (scanf("%ld %d", &observation, &first) == 2) {
    *(int64_t *)TF_TensorData(given[0]) = observation;
    *(bool *)TF_TensorData(given[1]) = first;
    TF_SessionRun(session, NULL, inputs, given, 2 + states, outputs, found, 1 + states, NULL, 0,
                  NULL, status);
    check(status);
    printf("%d\n", *(int32_t *)TF_TensorData(found[0]));
    TF_DeleteTensor(found[0]);
    for (int i = 0; i < states; i++) {
      TF_DeleteTensor(given[2 + i]);
      given[2 + i] = found[1 + i];
    }
  }
  if (python_is_loaded()) {
    fprintf(stderr, "a Python library is loaded\n");
    return 1;
  }
  return 0;
}
