using Subquartic.Numerics.Kernels;
using Subquartic.Training.Data;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>Trains the classifier that judges generated pictures. Measures: <c>accuracy</c>; per scale nothing.</summary>
public sealed class ClassifierTrainer : Trainer
{
    private readonly ClassifierNetwork _network;
    private readonly float[] _losses;
    private readonly bool[] _hits;

    /// <summary>Prepares training.</summary>
    /// <param name="network">The network; the trainer disposes it.</param>
    /// <param name="dataset">Pictures with sides that divide by <see cref="ClassifierNetwork.DownSampling"/>, in as many classes as the network has.</param>
    /// <param name="options">Settings.</param>
    /// <param name="kernels">The kernels that compute.</param>
    /// <exception cref="ArgumentException">Data and network do not fit together.</exception>
    public ClassifierTrainer(ClassifierNetwork network, IImageDataset dataset, TrainingOptions options, KernelSet kernels)
        : base(network?.Parameters ?? throw new ArgumentNullException(nameof(network)), dataset, options, kernels)
    {
        if (dataset.Classes.Count != network.Classes)
        {
            throw new ArgumentException($"The data has {dataset.Classes.Count} classes, the network {network.Classes}.", nameof(dataset));
        }

        if (dataset.Height % ClassifierNetwork.DownSampling != 0 || dataset.Width % ClassifierNetwork.DownSampling != 0)
        {
            throw new ArgumentException(
                $"The pictures are {dataset.Height} x {dataset.Width}; their sides must divide by {ClassifierNetwork.DownSampling}.", nameof(dataset));
        }

        _network = network;
        _losses = new float[options.Batch];
        _hits = new bool[options.Batch];
    }

    private protected override string NetworkDescription => $"classifier {_network.Classes}";

    private protected override (double Loss, Dictionary<string, double> Measures, double[] PerScale) Pass()
    {
        Tape.CrossEntropy(_network.Forward(Tape, Tape.Constant(Images)).Logits, Labels, 0, _losses, _hits);
        return (_losses.Average(), new Dictionary<string, double> { ["accuracy"] = _hits.Count(hit => hit) / (double)_hits.Length }, []);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _network.Dispose();
    }
}
