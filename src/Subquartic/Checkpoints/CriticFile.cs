using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Training;

namespace Subquartic.Checkpoints;

/// <summary>The critic of a model: its weights, and the JSON file beside them that states how many <c>scales</c> it looks at and how many <c>candidates</c> are to be
/// drawn where the user says nothing.</summary>
public sealed class CriticFile : IDisposable
{
    private readonly Checkpoint _checkpoint;
    private readonly VarConfig _config;
    private readonly int _scales;

    private CriticFile(Checkpoint checkpoint, VarConfig config, int scales, int candidates)
    {
        (_checkpoint, _config, _scales, Candidates) = (checkpoint, config, scales, candidates);
    }

    /// <summary>Beginnings to draw of each picture.</summary>
    public int Candidates { get; }

    /// <summary>Opens a critic that <c>train critic</c> wrote.</summary>
    /// <param name="path">The checkpoint.</param>
    /// <param name="config">The transformer whose drawings it judges.</param>
    /// <returns>The file; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">The file is no critic, or not of such a transformer.</exception>
    public static CriticFile Open(string path, VarConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        ConfigFile beside = ConfigFile.FindBeside(path) ?? throw new CheckpointException(path, "", "the JSON file that states the scales is missing");
        var section = new ConfigSection(beside, "critic");
        int scales = Number("scales", 1, config.Scales.Count - 1), candidates = Number("candidates", 1, GenerationRequest.MaxCandidates);
        Checkpoint file = Checkpoint.Open(path);
        if (file.Tensors.TryGetValue("head.weight", out TensorInfo? head) && head.Shape is [var rows, _] && rows == 2L * config.Classes)
        {
            return new CriticFile(file, config, scales, candidates);
        }

        file.Dispose();
        throw new CheckpointException(path, "head.weight", $"expected {2 * config.Classes} rows, two for each of the transformer's {config.Classes} classes");

        int Number(string field, int minimum, int maximum) => section.Integer(field) is { } value && value >= minimum && value <= maximum
            ? value
            : throw new CheckpointException(beside.Path, field, $"expected a whole number, {minimum} to {maximum}");
    }

    /// <summary>Reads the weights.</summary>
    /// <param name="kernels">The kernels that will compute.</param>
    /// <returns>The critic; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">A tensor is missing or has another shape.</exception>
    public Critic Load(KernelSet kernels) =>
        new(new CriticNetwork(_config.Classes, _config.CodeChannels, 0, _checkpoint.Root), _config.Scales, _scales, kernels);

    /// <summary>Closes the file.</summary>
    public void Dispose() => _checkpoint.Dispose();
}
