using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Subquartic.Checkpoints;
using Subquartic.Files;
using Subquartic.Imaging;
using Subquartic.Reports;
using Subquartic.Training;

namespace Subquartic.Cli;

/// <summary>A training in its folder: state, model, log and curves, and the way back into them.</summary>
/// <param name="folder">The folder.</param>
/// <param name="modelFile">Name of the model's file.</param>
/// <param name="description">What the model's tensors do not show; written beside it.</param>
/// <param name="trainer">Takes the steps; stays the caller's.</param>
/// <param name="terminal">Where to write.</param>
internal sealed class TrainingRun(string folder, string modelFile, JsonObject description, Trainer trainer, Terminal terminal)
{
    private const string StateFile = "state.safetensors", SettingsFile = "training.json", LogFile = "log.jsonl", CurvesFile = "curves.svg";

    // Steps that leave the weights as they are because their gradient is not finite; after so many, no better one will come.
    private const int MaxLostSteps = 20;

    private readonly List<TrainingLine> _log = [];
    private readonly List<StepReport> _interval = [];
    private long _intervalStart = Stopwatch.GetTimestamp();

    /// <summary>The last line of the log, or null before the first.</summary>
    public TrainingLine? Last => _log.Count > 0 ? _log[^1] : null;

    /// <summary>Type of the weights of the saved model.</summary>
    public required TensorType WeightType { get; init; }

    /// <summary>Measure that is shown beside the loss: its name, and how a value is written.</summary>
    public required (string Name, string Label, Func<double, string> Write) Measure { get; init; }

    /// <summary>Files that a finished training leaves, but for its pictures.</summary>
    public IEnumerable<string> Files => [At(modelFile), At(Path.ChangeExtension(modelFile, ".json")), At(StateFile), At(LogFile), At(CurvesFile)];

    /// <summary>Refuses what would lose a training or mix two, before anything is loaded or written.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="settings">What is asked for.</param>
    /// <param name="resume">Whether to go on.</param>
    /// <exception cref="UserException">The folder does not fit what is asked for.</exception>
    public static void Check(string folder, TrainingSettings settings, bool resume)
    {
        if (File.Exists(folder))
        {
            throw new UserException($"--out {folder}: there is a file of that name");
        }

        bool found = File.Exists(Path.Combine(folder, StateFile));
        if (found != resume)
        {
            throw new UserException(resume
                ? $"--resume: there is no training to go on with in {folder} (no {StateFile})"
                : $"--out {folder}: there is a training already; go on with --resume, or name another folder");
        }

        string path = Path.Combine(folder, SettingsFile);
        if (!resume || !File.Exists(path))
        {
            return;
        }

        TrainingSettings before = Parse(path);
        if (before.Stage != settings.Stage)
        {
            throw new UserException($"--resume: {folder} holds a training of {before.Stage}, not of {settings.Stage}");
        }

        foreach ((string name, string value) in settings.Options)
        {
            if (before.Options.TryGetValue(name, out string? stored) && stored != value)
            {
                throw new UserException($"--resume: {name} is {Shown(value)}, the training in {folder} was started with {Shown(stored)}");
            }
        }

        static string Shown(string value) => value.Length == 0 ? "not given" : value;
    }

    /// <summary>Starts in an empty folder, or goes on from the state in it.</summary>
    /// <param name="settings">What is asked for, as checked.</param>
    /// <param name="resume">Whether to go on.</param>
    /// <exception cref="CheckpointException">The state is damaged or belongs to another training.</exception>
    public void Open(TrainingSettings settings, bool resume)
    {
        Directory.CreateDirectory(folder);
        if (resume)
        {
            trainer.LoadState(At(StateFile));
            _log.AddRange(ReadLog());
        }

        AtomicFile.WriteText(At(SettingsFile), JsonSerializer.Serialize(settings, Documents.Default.TrainingSettings) + "\n");
        AtomicFile.WriteText(At(LogFile), string.Concat(_log.Select(Serialize)));
    }

    /// <summary>Takes the steps that are left.</summary>
    /// <param name="reportEvery">Steps between lines of the log.</param>
    /// <param name="saveEvery">Steps between savings.</param>
    /// <param name="progress">Told after each step.</param>
    /// <param name="cancellation">Ends the training after the step under way; everything is saved.</param>
    /// <returns>Whether it came to its end.</returns>
    /// <exception cref="UserException">No gradient is finite any more.</exception>
    public bool Train(int reportEvery, int saveEvery, Action<string, double> progress, CancellationToken cancellation)
    {
        long first = trainer.Step, total = trainer.Options.Steps;
        int lost = 0;
        _intervalStart = Stopwatch.GetTimestamp();
        while (trainer.Step < total && !cancellation.IsCancellationRequested)
        {
            StepReport report;
            try
            {
                report = trainer.TakeStep();
            }
            catch (Exception error) when (IsUnreadablePicture(error) && trainer.Step > first)
            {
                // A step reads its pictures first, so the state is that of the step before, and no work is lost.
                Save();
                throw;
            }

            _interval.Add(report);
            lost = double.IsFinite(report.GradientNorm) ? 0 : lost + 1;
            if (lost == MaxLostSteps)
            {
                throw new UserException(
                    $"no finite gradient in steps {report.Step - lost + 1} to {report.Step}; a lower --learning-rate or --clip may help");
            }

            TrainingLine line = Summarise();
            string measure = Measure.Write(line.Measures[Measure.Name]);
            string text = $"step {line.Step} of {total}  loss {line.Loss:0.000}  {measure}  {line.ImagesPerSecond:0.0} images/s";
            progress(text, (double)(line.Step - first) / (total - first));
            if (line.Step % reportEvery == 0 || line.Step == total)
            {
                Append(line, text);
            }

            if (line.Step % saveEvery == 0 && line.Step < total)
            {
                Save();
            }
        }

        Save();
        return trainer.Step >= total;
    }

    /// <summary>A path in the folder.</summary>
    public string At(string name) => Path.Combine(folder, name);

    private static bool IsUnreadablePicture(Exception error) =>
        (error is AggregateException { InnerException: { } inner } ? inner : error) is ImageException or IOException or UnauthorizedAccessException;

    private void Save()
    {
        trainer.SaveState(At(StateFile));
        AtomicFile.WriteText(At(Path.ChangeExtension(modelFile, ".json")), description.ToJsonString() + "\n");
        trainer.SaveModel(At(modelFile), WeightType);
        AtomicFile.WriteText(At(CurvesFile), LineChart.Draw(
            $"Training of {modelFile}, {trainer.Step} of {trainer.Options.Steps} steps", "step",
            new ChartPanel("loss", [.. _log.Select(line => ((double)line.Step, line.Loss))]),
            new ChartPanel(Measure.Label, [.. _log.Select(line => ((double)line.Step, line.Measures.GetValueOrDefault(Measure.Name, double.NaN)))])));
    }

    private TrainingLine Summarise()
    {
        StepReport last = _interval[^1];
        double seconds = Stopwatch.GetElapsedTime(_intervalStart).TotalSeconds;
        return new TrainingLine(
            last.Step, _interval.Average(report => report.Loss), last.LearningRate, _interval.Average(report => report.GradientNorm),
            last.Measures.Keys.ToDictionary(name => name, name => _interval.Average(report => report.Measures[name])),
            [.. Enumerable.Range(0, _interval.Max(report => report.PerScale.Count)).Select(
                k => _interval.Where(report => k < report.PerScale.Count).Average(report => report.PerScale[k]))],
            _interval.Count * trainer.Options.Batch / seconds, (Last?.Seconds ?? 0) + seconds);
    }

    private void Append(TrainingLine line, string text)
    {
        _log.Add(line);
        File.AppendAllText(At(LogFile), Serialize(line));
        _interval.Clear();
        _intervalStart = Stopwatch.GetTimestamp();
        if (!terminal.ShowsProgress)
        {
            Console.Error.WriteLine(text);
        }
    }

    // A run that was killed may have logged steps after the last state, and half a line; those steps are taken again.
    private IEnumerable<TrainingLine> ReadLog()
    {
        foreach (string text in File.Exists(At(LogFile)) ? File.ReadLines(At(LogFile)) : [])
        {
            TrainingLine? line = null;
            try
            {
                line = JsonSerializer.Deserialize(text, Documents.Default.TrainingLine);
            }
            catch (JsonException)
            {
            }

            if (line is { Measures: not null, PerScale: not null } && line.Step <= trainer.Step)
            {
                yield return line;
            }
        }
    }

    private static TrainingSettings Parse(string path)
    {
        try
        {
            TrainingSettings? settings = JsonSerializer.Deserialize(File.ReadAllText(path), Documents.Default.TrainingSettings);
            return settings is { Stage: not null, Options: not null }
                ? settings
                : throw new UserException($"{path}: stage or options are missing");
        }
        catch (JsonException error)
        {
            throw new UserException($"{path}: {error.Message}");
        }
    }

    private static string Serialize(TrainingLine line) => JsonSerializer.Serialize(line, Documents.Default.TrainingLine) + "\n";
}
