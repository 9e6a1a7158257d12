using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training.Data;

namespace Subquartic.Training;

/// <summary>What a step measured.</summary>
/// <param name="Step">Steps taken, this one included.</param>
/// <param name="Loss">The loss that was minimised.</param>
/// <param name="LearningRate">Step size.</param>
/// <param name="GradientNorm">Norm of all gradients before clipping; a step in which it is not finite changes nothing.</param>
/// <param name="Measures">What else the stage reports, by name.</param>
/// <param name="PerScale">One number per scale of the step: used codes for the autoencoder, accuracy for the transformer.</param>
public sealed record StepReport(
    long Step, double Loss, double LearningRate, double GradientNorm, IReadOnlyDictionary<string, double> Measures, IReadOnlyList<double> PerScale);

/// <summary>What both stages of training share: data, optimiser, running average, saving and resuming.</summary>
/// <remarks>Everything random is a function of (seed, step), and the state file holds weights, averages and the optimiser's means in full, so a
/// training that was stopped and resumed ends with the same bits as one that was not.</remarks>
public abstract class Trainer : IDisposable
{
    private readonly FloatBuffer[] _averages;
    private readonly AdamW _optimizer;
    private readonly BatchReader _reader;
    private readonly FloatBuffer _pictures;
    private readonly string _data;

    /// <summary>Prepares the state.</summary>
    /// <param name="parameters">What is trained.</param>
    /// <param name="dataset">The pictures.</param>
    /// <param name="options">Settings.</param>
    /// <param name="kernels">The kernels that compute.</param>
    private protected Trainer(ParameterSet parameters, IImageDataset dataset, TrainingOptions options, KernelSet kernels)
    {
        ArgumentNullException.ThrowIfNull(dataset);
        ArgumentNullException.ThrowIfNull(options);
        Parameters = parameters;
        Options = options;
        Tape = new Tape(kernels);
        _optimizer = new AdamW(
            parameters.All, options.Optimizer, kernels.Pool, options.Muon is { } muon ? new Muon(parameters.All, muon, kernels) : null);
        _averages = [.. parameters.All.Select(p => FloatBuffer.Of(p.Value.Span()))];
        _reader = new BatchReader(dataset, kernels.Pool, options.Seed);
        _pictures = new FloatBuffer((long)options.Batch * dataset.Height * dataset.Width * 3);
        Images = _pictures.FeatureMap(options.Batch, dataset.Height, dataset.Width, 3);
        Labels = new int[options.Batch];
        _data = $"{dataset.Count} {dataset.Height} {dataset.Width} {string.Join('/', dataset.Classes)}";
    }

    /// <summary>What is trained.</summary>
    public ParameterSet Parameters { get; }

    /// <summary>Settings.</summary>
    public TrainingOptions Options { get; }

    /// <summary>Steps taken.</summary>
    public long Step { get; private set; }

    /// <summary>The tape of the current step.</summary>
    private protected Tape Tape { get; }

    /// <summary>Pictures of the current step (B, H, W, 3).</summary>
    private protected FeatureMap Images { get; }

    /// <summary>Their classes.</summary>
    private protected int[] Labels { get; }

    /// <summary>Takes one step.</summary>
    /// <returns>What it measured.</returns>
    public StepReport TakeStep()
    {
        _reader.Read(Step, Images, Labels);
        Tape.Reset();
        (double loss, Dictionary<string, double> measures, double[] perScale) = Pass();
        Tape.Backward();
        double rate = Options.RateAt(Step);
        double norm = _optimizer.Step(rate);
        AfterStep();
        Step++;

        // Early on the average follows faster, so that it does not keep the random start.
        double decay = Options.AverageDecay == 0 ? 0 : Math.Min(Options.AverageDecay, (1.0 + Step) / (10.0 + Step));
        Parameters.Average(_averages, (float)decay);
        return new StepReport(Step, loss, rate, norm, measures, perScale);
    }

    /// <summary>Saves everything needed to go on (float32 safetensors, atomic).</summary>
    /// <remarks>What a tensor is stands behind its name, so that nobody takes the file for a model.</remarks>
    /// <param name="path">The file.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public void SaveState(string path)
    {
        var tensors = new List<TensorSource>();
        for (int i = 0; i < Parameters.All.Count; i++)
        {
            Parameter parameter = Parameters.All[i];
            tensors.Add(Source($"{parameter.Name}.value", parameter.Shape, parameter.Value, TensorType.Float32));
            tensors.Add(Source($"{parameter.Name}.average", parameter.Shape, _averages[i], TensorType.Float32));
            tensors.Add(Source($"{parameter.Name}.mean", parameter.Shape, _optimizer.Mean(i), TensorType.Float32));
            tensors.Add(Source($"{parameter.Name}.square", parameter.Shape, _optimizer.Square(i), TensorType.Float32));
        }

        foreach ((string name, FloatBuffer buffer) in ExtraState())
        {
            tensors.Add(Source(name, [(int)buffer.Length], buffer, TensorType.Float32));
        }

        long[] numbers = [Step, (long)Fingerprint()];
        tensors.Add(new TensorSource(
            new TensorInfo("progress", [numbers.Length], TensorType.Int64), null, (start, values) => numbers.AsSpan((int)start, values.Length).CopyTo(values)));
        SafetensorsWriter.Write(path, tensors);
    }

    /// <summary>Goes on from a state saved by <see cref="SaveState"/>.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="CheckpointException">The file is damaged, or belongs to a training with other settings.</exception>
    public void LoadState(string path)
    {
        using Checkpoint file = Checkpoint.Open(path);
        var numbers = new long[2];
        if (!file.Root.Contains("progress"))
        {
            throw new CheckpointException(path, "progress", "there is no such tensor: the file is not a training state");
        }

        file.ReadIntegers("progress", numbers);
        if (numbers[1] != (long)Fingerprint())
        {
            throw new CheckpointException(path, "progress", "the state belongs to a training with other settings (network, data, batch, steps, rates or seed)");
        }

        for (int i = 0; i < Parameters.All.Count; i++)
        {
            Parameter parameter = Parameters.All[i];
            file.Read($"{parameter.Name}.value", parameter.Value.Span());
            file.Read($"{parameter.Name}.average", _averages[i].Span());
            file.Read($"{parameter.Name}.mean", _optimizer.Mean(i).Span());
            file.Read($"{parameter.Name}.square", _optimizer.Square(i).Span());
            parameter.Changed();
        }

        foreach ((string name, FloatBuffer buffer) in ExtraState())
        {
            file.Read(name, buffer.Span());
        }

        Step = numbers[0];
        _optimizer.Steps = numbers[0];
    }

    /// <summary>Writes the averaged weights as a checkpoint with the official names (atomic).</summary>
    /// <param name="path">The file.</param>
    /// <param name="type">Type of the weights.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public void SaveModel(string path, TensorType type = TensorType.Float32) =>
        SafetensorsWriter.Write(path, [.. Parameters.All.Select((p, i) => Source(p.Name, p.Shape, _averages[i], type)), .. Buffers(type)]);

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees the memory.</summary>
    /// <param name="disposing">Whether called from <see cref="Dispose()"/>.</param>
    protected virtual void Dispose(bool disposing)
    {
        Array.ForEach(_averages, buffer => buffer.Dispose());
        _optimizer.Dispose();
        _pictures.Dispose();
        Tape.Dispose();
    }

    /// <summary>Forward pass on the current pictures; sets the gradient of what the loss depends on.</summary>
    private protected abstract (double Loss, Dictionary<string, double> Measures, double[] PerScale) Pass();

    /// <summary>Changes to the weights beside the optimiser's.</summary>
    private protected virtual void AfterStep()
    {
    }

    /// <summary>State beside weights, averages and means.</summary>
    private protected virtual IEnumerable<(string Name, FloatBuffer Values)> ExtraState() => [];

    /// <summary>Tensors of the official state dict that are not trained.</summary>
    private protected virtual IEnumerable<TensorSource> Buffers(TensorType type) => [];

    /// <summary>What the state must agree on besides the options.</summary>
    private protected abstract string NetworkDescription { get; }

    /// <summary>Starts the optimiser's means of some entries again, after they were set anew.</summary>
    private protected void Forget(Parameter parameter, int start, int length)
    {
        for (int i = 0; i < Parameters.All.Count; i++)
        {
            if (Parameters.All[i] == parameter)
            {
                _optimizer.Mean(i).Span(start, length).Clear();
                _optimizer.Square(i).Span(start, length).Clear();
                parameter.Value.Span(start, length).CopyTo(_averages[i].Span(start, length));
            }
        }
    }

    private static TensorSource Source(string name, IReadOnlyList<int> shape, FloatBuffer values, TensorType type) => new(
        new TensorInfo(name, [.. shape.Select(size => (long)size)], type), (start, span) => values.Span(start, span.Length).CopyTo(span));

    /// <summary>Uniform in [0, 1): a function of seed, picture of the whole training and purpose.</summary>
    private protected double Uniform(int picture, ulong purpose)
    {
        ulong hash = SplitMix64.Mix((Options.Seed + purpose) ^ SplitMix64.Mix(((ulong)Step * (ulong)Options.Batch) + (ulong)picture + 1));
        return (hash >> 11) * (1.0 / (1UL << 53));
    }

    /// <summary>Identifies weights on which a training depends: with others it does not go on.</summary>
    internal static ulong Hash(ReadOnlySpan<float> values, ulong hash = 0)
    {
        foreach (float value in values)
        {
            hash = SplitMix64.Mix(hash ^ BitConverter.SingleToUInt32Bits(value));
        }

        return hash;
    }

    private ulong Fingerprint()
    {
        ulong hash = 0;

        // Without Muon it reads as before there was one, so that older states stay valid.
        foreach (char c in $"{NetworkDescription} {_data} {Options.ToString().Replace(" Muon = ,", "", StringComparison.Ordinal)}")
        {
            hash = SplitMix64.Mix(hash ^ c);
        }

        return hash;
    }
}
