using Subquartic.Checkpoints;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>What a classifier makes of pictures.</summary>
/// <param name="Levels">Feature maps, fine to coarse, each half the size of the one before: what a perceptual loss compares.</param>
/// <param name="Features">(B, <see cref="ClassifierNetwork.FeatureWidth"/>): the last level's mean, in whose space the Fréchet distance is taken.</param>
/// <param name="Logits">(B, classes).</param>
public sealed record ClassifierOutput(IReadOnlyList<Variable> Levels, Variable Features, Variable Logits);

/// <summary>A small convolutional classifier that judges generated pictures: it never sees the models it judges. Four levels of convolution, group
/// normalisation and SiLU, each halving the sides; their mean; a linear layer.</summary>
public sealed class ClassifierNetwork : IDisposable
{
    private static readonly int[] Channels = [32, 64, 96, FeatureWidth];

    private readonly Level[] _levels;
    private readonly Parameter _weight;
    private readonly Parameter _bias;

    /// <summary>Creates the network.</summary>
    /// <param name="classes">Number of classes.</param>
    /// <param name="seed">Seed of the random start.</param>
    /// <param name="from">A checkpoint to take the weights from, or null.</param>
    /// <exception cref="CheckpointException">The checkpoint does not fit.</exception>
    public ClassifierNetwork(int classes, ulong seed, CheckpointView? from = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(classes, 2);
        Classes = classes;
        Parameters = new ParameterSet(seed, from);
        _levels = [.. Channels.Select((outputs, i) => new Level(Parameters, $"levels.{i}", i == 0 ? 3 : Channels[i - 1], outputs))];
        _weight = Parameters.Uniform("head.weight", 1 / Math.Sqrt(FeatureWidth), decays: true, classes, FeatureWidth);
        _bias = Parameters.Constant("head.bias", 0, decays: false, classes);
    }

    /// <summary>Width of the features.</summary>
    public const int FeatureWidth = 128;

    /// <summary>Channels of all levels together.</summary>
    internal static int LevelChannels => Channels.Sum();

    /// <summary>Pictures must have sides that divide by this.</summary>
    public const int DownSampling = 16;

    /// <summary>Number of classes.</summary>
    public int Classes { get; }

    /// <summary>Identifies the weights.</summary>
    internal string Identity => $"{Parameters.All.Aggregate(0UL, (hash, parameter) => Trainer.Hash(parameter.Value.Span(), hash)):x}";

    /// <summary>All parameters.</summary>
    public ParameterSet Parameters { get; }

    /// <summary>Reads a classifier that <c>train classifier</c> wrote; its weights are frozen.</summary>
    /// <param name="view">The checkpoint.</param>
    /// <returns>The network; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">The file holds no such classifier.</exception>
    public static ClassifierNetwork Load(CheckpointView view)
    {
        long[] shape = view.Contains("head.weight")
            ? [.. view.Info("head.weight").Shape]
            : throw new CheckpointException(view.Checkpoint.Path, "head.weight", "there is no such tensor: the file is no classifier");
        if (shape is not [>= 2 and <= 1 << 20, FeatureWidth])
        {
            throw new CheckpointException(view.Checkpoint.Path, "head.weight", $"expected (classes, {FeatureWidth}), found ({string.Join(", ", shape)})");
        }

        var network = new ClassifierNetwork((int)shape[0], 0, view);
        foreach (Parameter parameter in network.Parameters.All)
        {
            parameter.Trainable = false;
        }

        return network;
    }

    /// <summary>Looks at pictures.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="images">(B, H, W, 3) with values in [-1, 1]; sides divide by <see cref="DownSampling"/>.</param>
    /// <returns>Features and logits.</returns>
    public ClassifierOutput Forward(Tape tape, Variable images)
    {
        ArgumentNullException.ThrowIfNull(tape);
        var levels = new Variable[_levels.Length];
        Variable x = images;
        for (int i = 0; i < levels.Length; i++)
        {
            x = levels[i] = _levels[i].Forward(tape, x);
        }

        Variable features = tape.MeanPool(x);
        return new ClassifierOutput(levels, features, tape.Linear(features, _weight, _bias));
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose() => Parameters.Dispose();

    /// <summary>A convolution that halves the sides, one that does not, each followed by normalisation and SiLU.</summary>
    private sealed class Level(ParameterSet parameters, string name, int inputs, int outputs)
    {
        private readonly ConvolutionUnit _down = new(parameters, $"{name}.down", inputs, outputs);
        private readonly ConvolutionUnit _same = new(parameters, $"{name}.same", outputs, outputs);

        public Variable Forward(Tape tape, Variable x) => _same.Forward(tape, _down.Forward(tape, x, stride: 2), stride: 1);
    }
}
