using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Evaluation;
using Subquartic.Models;
using Subquartic.Reports;
using Subquartic.Reports.Analysis;
using Subquartic.Verification;

namespace Subquartic.Cli;

/// <summary>The documents of <c>--json</c>. Times are in seconds, sizes in bytes, work in floating-point operations.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals, UseStringEnumConverter = true)]
[JsonSerializable(typeof(GenerateDocument))]
[JsonSerializable(typeof(ReconstructDocument))]
[JsonSerializable(typeof(VerifyDocument))]
[JsonSerializable(typeof(InspectDocument))]
[JsonSerializable(typeof(FilesDocument))]
[JsonSerializable(typeof(DatasetDocument))]
[JsonSerializable(typeof(EvaluateDocument))]
[JsonSerializable(typeof(SampleSettings))]
[JsonSerializable(typeof(TrainDocument))]
[JsonSerializable(typeof(TrainingLine))]
[JsonSerializable(typeof(TrainingSettings))]
[JsonSerializable(typeof(ScalingReport))]
[JsonSerializable(typeof(CostReport))]
[JsonSerializable(typeof(PhaseReport))]
[JsonSerializable(typeof(PolynomialReport))]
[JsonSerializable(typeof(ReductionReport))]
[JsonSerializable(typeof(ChainReport))]
[JsonSerializable(typeof(HardReport))]
[JsonSerializable(typeof(RegimeReport))]
[JsonSerializable(typeof(CostsDocument))]
[JsonSerializable(typeof(ModelAnalysis))]
[JsonSerializable(typeof(LoraReport))]
[JsonSerializable(typeof(TensorReport))]
[JsonSerializable(typeof(RopeReport))]
internal sealed partial class Documents : JsonSerializerContext;

/// <summary>The model that ran.</summary>
internal sealed record ModelDocument(
    string Path, string? Note, int Depth, int Width, int Heads, int Classes, int ImageHeight, int ImageWidth, string Scales,
    string Attention, string Kernels, int Threads);

/// <summary>How a picture was drawn; guidance, temperature and passes are a number, or one for each scale.</summary>
internal sealed record SamplingDocument(ulong Seed, JsonNode Guidance, int TopK, float TopP, JsonNode Temperature, JsonNode Passes, bool Smooth, int Candidates);

/// <summary>A picture that was written.</summary>
internal sealed record PictureDocument(int Index, int Class, string Name, string File, string? Strip, IReadOnlyList<int> Tokens);

/// <summary>One stage of the work; work and fraction are null where operations are not counted.</summary>
internal sealed record StageDocument(string Stage, double Seconds, double? Flops, double? FractionOfPeak);

/// <summary>What <c>generate</c> and <c>edit</c> did.</summary>
internal sealed record GenerateDocument(
    ModelDocument Model, SamplingDocument Sampling, IReadOnlyList<PictureDocument> Pictures, string? Grid,
    IReadOnlyList<StageDocument> Stages, double PeakFlopsPerSecond, long PeakMemory, CertificateDocument? Certificate);

/// <summary>What <c>reconstruct</c> did; the signal-to-noise ratio in decibels, null when nothing changed.</summary>
internal sealed record ReconstructDocument(
    string Image, string Model, string File, string? Strip, int Height, int Width, double? PeakSignalToNoise, IReadOnlyList<int> Tokens,
    double Seconds, CertificateDocument? Certificate);

/// <summary>What <c>limits calibrate</c> measured; the file is null where there is no folder for it.</summary>
internal sealed record CostsDocument(CertifiedCosts Costs, string Kernels, string? File);

/// <summary>What <c>verify</c> found.</summary>
internal sealed record VerifyDocument(
    string Folder, string Case, bool Passed, string Attention, string Kernels, int Threads, IReadOnlyList<VerificationRow> Tensors,
    CertificateDocument? Certificate);

/// <summary>The configuration of a transformer.</summary>
internal sealed record VarDocument(
    int Depth, int Width, int Heads, int HiddenWidth, int Classes, int Vocabulary, int CodeChannels, bool AttentionL2Norm, bool SharedAdaLn,
    string Scales, int Tokens, float? RopeBase);

/// <summary>A tensor and the range of its finite values.</summary>
internal sealed record TensorDocument(
    string Name, IReadOnlyList<long> Shape, TensorType Type, double? Minimum, double? Maximum, double? RootMeanSquare, long NotFinite);

/// <summary>What <c>inspect</c> found; a configuration is null where the file has no such model.</summary>
internal sealed record InspectDocument(
    string File, long Bytes, long Parameters, VarDocument? Var, VqVaeConfig? VqVae, string? Problem, IReadOnlyList<TensorDocument> Tensors);

/// <summary>What <c>convert</c> and <c>random</c> wrote.</summary>
internal sealed record FilesDocument(IReadOnlyList<FileDocument> Files, double Seconds)
{
    /// <summary>Describes files that are there.</summary>
    public static FilesDocument Of(IEnumerable<string> paths, TimeSpan time) =>
        new([.. paths.Select(path => new FileDocument(path, new FileInfo(path).Length))], time.TotalSeconds);

    /// <summary>Writes the document, or lines that say the same.</summary>
    public void Show(Terminal terminal)
    {
        if (terminal.IsJson)
        {
            Terminal.WriteJson(this, Documents.Default.FilesDocument);
            return;
        }

        terminal.Say($"Wrote in {Units.Time(TimeSpan.FromSeconds(Seconds))}:");
        foreach (FileDocument file in Files)
        {
            terminal.Say($"  {file.File}  {Units.Bytes(file.Bytes)}");
        }
    }
}

/// <summary>A file that was written.</summary>
internal sealed record FileDocument(string File, long Bytes);

/// <summary>What <c>dataset</c> wrote: the number of pictures in the folder, and the classes in the order of their labels.</summary>
internal sealed record DatasetDocument(
    string Name, string? Folder, string? Sheet, long Pictures, IReadOnlyList<string> Classes, int Size, double Seconds);

/// <summary>What <c>evaluate</c> found; nothing is judged where an archive was asked for.</summary>
internal sealed record EvaluateDocument(
    string Model, string Attention, int Pictures, string Sheet, string? Npz, IReadOnlyList<string>? Classes, DrawingQuality? Drawing,
    ReconstructionQuality? Reconstruction, CertificateDocument? Certificate, double Seconds);

/// <summary>A line of a training's log: means over the steps since the line before. Per scale: the share of the codebook in use for the
/// VQ-VAE, accuracy for the transformer. Seconds count from the start of the training, stops left out.</summary>
internal sealed record TrainingLine(
    long Step, double Loss, double LearningRate, double GradientNorm, IReadOnlyDictionary<string, double> Measures,
    IReadOnlyList<double> PerScale, double ImagesPerSecond, double Seconds);

/// <summary>What a training was started with: the stage and its options.</summary>
internal sealed record TrainingSettings(string Stage, IReadOnlyDictionary<string, string> Options);

/// <summary>What <c>train</c> did; last is the last line of the log, attention what can be said of how it was computed.</summary>
internal sealed record TrainDocument(
    string Stage, string Folder, long Steps, long Parameters, TrainingLine? Last, IReadOnlyList<FileDocument> Files, double Seconds,
    string? Attention = null);
